"""`scripted_server` as a program; apart from it, so that Python finds it compiled each time."""

from scripted_server import Upstream, read_arguments

Upstream(read_arguments()).run()
