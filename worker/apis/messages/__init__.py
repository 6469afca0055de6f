"""Anthropic's Messages. Wire format, section 6.

Lowest first:

    merge    Continues our own message with the upstream's.
    dialect  Pings, or a block of thinking; errors; the end of a message.
    api      `MessagesApi`, `CountTokensApi`.
"""
