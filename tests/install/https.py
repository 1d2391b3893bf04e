"""Serves a folder over HTTPS on 127.0.0.1: https.py FOLDER PORT KEY-AND-CERTIFICATE"""

import functools
import http.server
import ssl
import sys

folder, port, pem = sys.argv[1:]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(pem)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
