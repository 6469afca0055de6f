"""The interface of an API, and the parts of API modules.

Lowest first:

    members  Typed access to members of a JSON object.
    usage    `Usage`; times and drafts that servers add to any API.
    dialect  `Dialect`: the frames an API has for us.
    api      `Api`: everything that is known of one API.
"""
