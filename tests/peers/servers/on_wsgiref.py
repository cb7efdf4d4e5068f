"""Serve the WSGI app by the server of the standard library, which makes its socket itself: it is given ours."""

import socket
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from tests.peers.servers.wsgi import app

listener = socket.socket(fileno=int(sys.argv[1]))
server = WSGIServer(listener.getsockname(), WSGIRequestHandler, bind_and_activate=False)
server.socket.close()
server.socket = listener
server.server_name, server.server_port = listener.getsockname()
server.setup_environ()
server.set_app(app)
server.serve_forever()
