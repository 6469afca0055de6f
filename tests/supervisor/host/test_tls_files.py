from pathlib import Path

import pytest
import trustme

from arriero.supervisor.host.tls_files import tls_files


def test_a_pair_is_taken_and_what_is_none_says_why(tmp_path: Path) -> None:
    authority = trustme.CA()
    for name in ("a", "b"):
        made = authority.issue_cert("localhost")
        made.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.crt"))
        made.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
    a, key, other = tmp_path / "a.crt", tmp_path / "a.key", tmp_path / "b.key"

    assert tls_files(None, None) is None
    found = tls_files(a, key)
    assert found is not None
    assert (found.cert, found.key) == (str(a), str(key))
    for cert, of, words in (
        (a, None, "give --tls-key-file, too"),
        (None, key, "give --tls-cert-file, too"),
        (a, other, "KEY_VALUES_MISMATCH"),
        (key, a, "both are PEM files"),
        (a, tmp_path / "no", "cannot read the certificate or its key"),
    ):
        with pytest.raises(ValueError, match=words):
            tls_files(cert, of)
