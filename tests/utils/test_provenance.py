"""Digests of files, and versions of packages."""

import platform

import numpy as np

from common.utils.provenance import digest, fingerprint, package_versions, sha256


def test_sha256_of_known_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_a_digest_depends_on_content_order_and_borders():
    assert digest([b"ab", b"c"]) == digest(iter([b"ab", b"c"]))
    assert len({digest(parts) for parts in ([b"ab", b"c"], [b"c", b"ab"], [b"a", b"bc"], [b"abc"])}) == 4


def test_fingerprint_changes_with_content_and_not_with_order(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_text("1")
    before = fingerprint(paths, tmp_path)
    assert fingerprint(paths[::-1], tmp_path) == before
    paths[0].write_text("12")
    assert fingerprint(paths, tmp_path) != before


def test_versions_of_what_is_installed():
    assert package_versions("numpy", "no-such-package") == {
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
