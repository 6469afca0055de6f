"""OpenAI's Responses. Wire format, section 7.

Lowest first:

    merge    Continues our own response with the upstream's.
    dialect  Lifecycle events, and an item of reasoning; errors; the end of a response.
    api      `ResponsesApi`.
"""
