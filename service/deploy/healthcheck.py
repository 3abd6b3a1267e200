"""Exit with 0 if the service in this container answers predictions, else with 1.

It asks the loopback interface by the port and the certificate that the environment names.
"""

from __future__ import annotations

import os
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection

SECONDS = 3.0


def is_ready() -> bool:
    """Ask /readyz once; neither proxies nor redirects are followed."""
    port = int(os.environ.get("KETACAST_PORT", "8000"))
    if os.environ.get("KETACAST_TLS_CERTIFICATE"):
        # The certificate is for the service's public name, and this is its own machine.
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
        connection: HTTPConnection = HTTPSConnection(
            "127.0.0.1", port, timeout=SECONDS, context=context
        )
    else:
        connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_ready() else 1)
