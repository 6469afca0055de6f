"""The interface of an API, and the parts of API modules.

Lowest first:

    members      Typed access to members of a JSON object.
    keep_alive   `keep_alive` of a request.
    usage        `Usage`; times and drafts that servers add to any API.
    dialect      `Dialect`: the frames an API has for us.
    translation  `Translation`: one request in the words of another API, and its response.
    api          `Api`: everything that is known of one API.
"""
