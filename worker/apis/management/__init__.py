"""What is asked of this program itself: routes as they are declared, and their answers.

Who answers is in `server`.

Lowest first:

    answers         Shapes of answers and bodies.
    queries         Shapes of queries, and their reading.
    activity_query  What is asked of records of requests.
    page_routes     The routes of the page for people.
    declared        The routes.
"""
