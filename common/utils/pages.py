"""HTML pages that need nothing beside them: rendered from a template, with their pictures inside."""

import base64
from pathlib import Path
from typing import Any


def render(template: Path, **content: Any) -> str:
    """Render a Jinja template; what is missing in ``content`` stays empty."""
    from jinja2 import ChainableUndefined, Environment, FileSystemLoader  # slow to import

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,  # names in files may hold anything
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(content)


def data_uri(content: bytes, kind: str) -> str:
    """A picture of the ``kind`` "png" or "jpeg" as the address of an image in a page."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
