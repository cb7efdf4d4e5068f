"""Serve the WSGI app by waitress, which takes a socket only from Python."""

import socket
import sys

import waitress

from tests.peers.servers.wsgi import app

waitress.serve(app, sockets=[socket.socket(fileno=int(sys.argv[1]))], threads=4)
