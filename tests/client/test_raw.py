from __future__ import annotations

from email.parser import BytesParser

from turnwise._raw import form_of


def test_a_file_becomes_a_form_with_one_field() -> None:
    body, kind = form_of(b"\x00\r\n--", name='a"b\r\n.png', type="image/png\r\nx-evil: 1")
    message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    assert message.is_multipart()
    assert b'name="file"; filename="a%22b%0D%0A.png"\r\nContent-Type: image/png x-evil: 1\r\n\r\n\x00\r\n--\r\n' in body
    other, _ = form_of(b"x")
    assert b'filename="blob"\r\nContent-Type: application/octet-stream' in other
