"""The page for people: its files, and what is answered to it alone.

Lowest first:

    assets      Files of the page, by names that change with their content.
    asset_door  These, given at the door.
    answering   Answers of pages, as Quart has them.
    shell       The page as it comes, before any script runs.
    routes      Answers the routes of the page.

`static/` has modules, styles and pictures, `templates/` what Quart makes the page from. There is no
step to build them: what is here is what a browser gets. `static/` in turn:

- ``theme.js`` sets the theme before anything is shown;
- ``main.js`` is the wiring: session, feed, views;
- ``lib/`` has what all views use: state, feed, elements, strings, formats;
- ``views/`` has a module for each view (and ``VIEW_*.js`` beside it), loaded when first shown;
- ``css/`` has variables and themes, parts, and a file for each view.
"""
