"""One module or package per API; model names in bodies.

A row in `routes` adds an API; nothing else knows one by its name.

Lowest first:

    bedrock         Bedrock Converse.
    completions     Text completions.
    gemini          Gemini.
    plain           APIs of which nothing is streamed by us: embeddings, rerank, audio, images.
    routes          The table of all APIs; path of a request -> API.
    error_response  An error in the shape of the API.
    openapi         All routes as one document.
    progress_lines  Finds our own lines in a text.
    strip_progress  Removes our progress text from requests.
    model_names     Model and stream in a body; name lookup.

Packages within it; all but `turns` are lower:

    base/        The interface `Api`, its `Dialect`, and helpers.
    chat/        Chat completions; the base of completions and plain.
    management/  What is asked of this program itself: routes and answers.
    messages/    Anthropic Messages.
    ollama/      Ollama's API, translated to and from chats and embeddings.
    responses/   OpenAI Responses.
    turns/       `/v1/streaming_query`: a chat stream as turn events.
"""
