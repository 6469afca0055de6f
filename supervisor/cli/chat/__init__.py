"""`arriero ask` and `arriero chat`: a client of the HTTP API, on a terminal.

Lowest first:

    exchange      One HTTP request, and its answer as it comes.
    server        Which arriero is asked, and with which key.
    answer        The bytes of a chat stream -> what they say. Pure.
    attachments   What a question takes along: text from stdin, images.
    display       What is written while an answer comes.
    talk          One question, and its answer.
    words         What is typed in a chat that is no question. Pure.
    ask           `ask`
    chat          `chat`
"""
