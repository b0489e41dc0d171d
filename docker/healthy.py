"""Exits with 0 where the server in this container answers; a health check that needs nothing but Python.

It asks /livez, not /readyz: while it loads models or drains, a server needs no restart. Any answer below 500
will do, for the setting 'allowed_hosts' may not name this address.
"""

import http.client
import os
import ssl
import sys

PREFIX = "RETRIEVAL_SERVER_"
SECONDS = 4


def main() -> int:
    """The exit code."""
    port = int(os.environ.get(f"{PREFIX}PORT") or 8080)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    if os.environ.get(f"{PREFIX}TLS_CERTIFICATE"):
        # To itself, and whatever name the certificate is for.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=context)
    try:
        connection.request("GET", "/livez")
        return 0 if connection.getresponse().status < 500 else 1
    except (OSError, http.client.HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
