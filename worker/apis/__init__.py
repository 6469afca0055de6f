"""One dialect per API: status, heartbeat, error and end-of-stream frames; model names in bodies.

Lowest first:

    messages_merge   Continue a Messages stream.
    progress_lines   Finds our own lines in a text.
    responses_merge  Continue a Responses stream.
    sent_so_far      What is open in a stream we must end.
    chat             Chat and text completions.
    silent           APIs without a keep-alive frame.
    bedrock          Bedrock Converse.
    gemini           Gemini.
    error_response   An error in the shape of the API.
    strip_progress   Removes our progress text from what clients send back.
    messages         Anthropic Messages.
    model_names      Model and stream in a body; name lookup.
    responses        OpenAI Responses.
    choose_dialect   Form -> dialect.

Packages within it:

    turns/  `/v1/streaming_query`: a chat stream told as turn events.
"""
