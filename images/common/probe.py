"""Container health check: exit 0 when the process on this port says that it is ready.

Standard library only and no imports of ours: it runs every ten seconds in every container, and importing
gRPC alone would cost more than the server does while idle.
"""

import http.client
import sys

TIMEOUT_S = 3
OK = 200


def main() -> int:
    """Ask /readyz on loopback; print the reason when the answer is not 200."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        reason = answer.read(500).decode(errors="replace")
    except OSError as error:
        print(f"no answer: {error}")
        return 1
    if answer.status != OK:
        print(reason)
    return int(answer.status != OK)


if __name__ == "__main__":
    sys.exit(main())
