"""Ollama's API, translated to and from chat completions, completions and embeddings.

Lowest first:

    fields    Short members of a request: names, options, whether to think.
    messages  Messages with images, thinking and calls of tools -> those of a chat.
    lines     Chunks of a stream -> lines of JSON.
    shown     Shapes of what is told of models.
    whole     Whole responses.
    request   Requests -> translations.
    api       `OllamaApi`: routes, errors.
"""
