"""A cell of real processes with mTLS: what an operator would set up, and what strangers meet."""

import ssl
import urllib.error
import urllib.request

import pytest
from sax_testing.certificates import Authority
from sax_testing.processes import ProcessCell

pytestmark = pytest.mark.processes

ACLS = '[acl]\n"acl/ops" = ["ann"]\n'


class TlsCell(ProcessCell):
    """Every program gets its own certificate through the environment."""

    def __init__(self, folder):
        super().__init__(folder)
        self.authority = Authority(folder / "pki")
        (folder / "acl.toml").write_text(ACLS)
        self.environ = {**self.environ, "SAX_TLS_CA_FILE": self.authority.ca}
        self.act_as("ann", "client")

    def act_as(self, name, role):
        """From now on programs show the certificate of `name`."""
        issued = self.authority.issue(name, role=role)
        self.environ = {**self.environ, "SAX_TLS_CERT_FILE": issued.cert, "SAX_TLS_KEY_FILE": issued.key}

    def start(self, name, program, *flags):
        """Start a server under its own certificate, with access control on."""
        role = {"admin": "admin", "model": "modelserver", "http": "gateway"}[name]
        before = self.environ
        self.act_as(f"{name}-1", role)
        super().start(name, program, f"--acl_file={self.folder / 'acl.toml'}", *flags)
        self.environ = before


def _get(cell, path, name=""):
    context = ssl.create_default_context(cafile=cell.authority.ca)
    if name:
        issued = cell.authority.issue(name, role="client")
        context.load_cert_chain(issued.cert, issued.key)
    url = f"https://127.0.0.1:{cell.ports['http']}{path}"
    try:
        with urllib.request.urlopen(url, timeout=20, context=context) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_cell_with_certificates_serves_its_own_and_nobody_else(tmp_path):
    """Model server and HTTP server work through mTLS; the cell's admins publish, others are refused."""
    with TlsCell(tmp_path) as cell:
        cell.program(
            "sax-admin-config", "--sax_cell=/sax/test", f"--fs_root={cell.fs_root}", "--admin_acl=acl/ops"
        )
        cell.start_admin()
        cell.start_model()
        cell.start_http("http", "--sax_cell=/sax/test")
        publish = ("publish", cell.model("m"), "hf.CausalLM", "None", "1")
        cell.saxutil(*publish)
        cell.act_as("eve", "client")
        assert cell.saxutil("ls", cell.model("m")).returncode == 0
        refused = cell.saxutil("unpublish", cell.model("m"), check=False)
        assert refused.returncode == 1
        assert "spiffe://test/client/eve" in refused.stderr
        assert _get(cell, "/v1/models", "ann") == 200
        with pytest.raises((ssl.SSLError, urllib.error.URLError, ConnectionError)):
            _get(cell, "/v1/models")
        plain = {key: value for key, value in cell.environ.items() if not key.startswith("SAX_TLS")}
        cell.environ = plain
        assert cell.saxutil("--sax_timeout=3s", "ls", "/sax/test", check=False).returncode == 1
        assert "without TLS" not in cell.logs()
