"""Pages: what comes from files is text, and pictures lie inside."""

import base64

from common.utils.pages import data_uri, render


def test_content_is_escaped_and_what_is_missing_stays_empty(tmp_path):
    template = tmp_path / "a.html.j2"
    template.write_text("{% if name %}\n<b>{{ name }}</b>{{ missing.deeper }}\n{% endif %}\n")
    assert render(template, name="<i>&") == "<b>&lt;i&gt;&amp;</b>\n"


def test_a_picture_is_its_own_address():
    head, _, content = data_uri(b"\xff\xd8\x00", "jpeg").partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(content) == b"\xff\xd8\x00"
