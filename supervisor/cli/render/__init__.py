"""Values -> tables, lines and progress bars. No I/O but `terminal`.

Lowest first:

    glyphs    Text for one line of a terminal: its width, its characters, bars.
    text      Lines and tables of replies.
    bars      Progress bars as values.
    check     Report of `check`.
    requests  Table of requests.
    events    Events as lines.
    terminal  Draws with rich.
"""
