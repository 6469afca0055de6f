"""The certificate that clients are shown, checked before anybody listens."""

import ssl
from pathlib import Path

from arriero.protocol.worker_config import TlsFiles


def tls_files(cert: Path | None, key: Path | None) -> TlsFiles | None:
    """Return both with their whole paths; None if there are none.

    Raises:
        ValueError: One is missing, cannot be used, or does not belong to the other; says why.
    """
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        missing = "--tls-cert-file" if cert is None else "--tls-key-file"
        raise ValueError(f"TLS takes a certificate and its key; give {missing}, too")
    try:
        # a key with a password is an error: OpenSSL would ask for it on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: "")
    except ssl.SSLError as exc:
        why = exc.reason or str(exc)
        raise ValueError(
            f"cannot use this certificate with this key: {why}; both are PEM files, and the key "
            "belongs to the certificate and has no password"
        ) from exc
    except OSError as exc:
        raise ValueError(f"cannot read the certificate or its key: {exc.strerror}") from exc
    return TlsFiles(cert=str(cert.absolute()), key=str(key.absolute()))
