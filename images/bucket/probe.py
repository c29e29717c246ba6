"""Container health check: exit 0 when the emulator answers for the bucket `sax`."""

import http.client
import sys

OK = 200

connection = http.client.HTTPConnection("127.0.0.1", 4443, timeout=2)
try:
    connection.request("GET", "/storage/v1/b/sax")
    sys.exit(connection.getresponse().status != OK)
except OSError as error:
    print(f"no answer: {error}")
    sys.exit(1)
