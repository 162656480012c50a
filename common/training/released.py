"""The paper's own checkpoints, from Google Drive."""

from pathlib import Path

from common.training.checkpoint import load_checkpoint
from common.training.config import EvalConfig, state_path
from common.utils.errors import UserError
from common.utils.files import atomic_path, check_writable

_TIMEOUT = 60.0  # s without a byte


def download_released(config: EvalConfig) -> None:
    """Put a method's released checkpoint where the evaluation looks for one, unless it is there.

    Raises:
        UserError: the file there comes from the user's own training; the download failed, or is no checkpoint of this
            method.
    """
    path, recipe = config.checkpoint, config.recipe
    assert recipe.released
    if state_path(path).exists() or (path.is_file() and load_checkpoint(path).settings):
        raise UserError(
            f"{path} belongs to a training of your own and is kept; pass --checkpoint PATH, "
            "another place for the released one"
        )
    if path.is_file():
        print(f"{path} is there already and is not downloaded again")
        return
    check_writable(path.parent, "pass another --checkpoint")
    with atomic_path(path) as temporary:
        _fetch(recipe.released, temporary, path)
        try:
            method = load_checkpoint(temporary).method
        except UserError:
            method = None
        if method != recipe.method:
            raise UserError(
                f"what {recipe.released} holds is no checkpoint of {recipe.method.label}, and was not kept; "
                "train one, or pass --checkpoint PATH"
            )


def _fetch(url: str, temporary: Path, path: Path) -> None:
    """Download to ``temporary`` what is to stand at ``path``, past the page that Google shows before large files."""
    try:
        import gdown
        from requests import RequestException
    except ImportError as error:
        raise UserError("--download needs the package gdown; pip install -r requirements.txt") from error
    try:
        with temporary.open("wb") as file:
            gdown.download(url, file, use_cookies=False, log_messages={"output": f"To: {path}\n"}, timeout=_TIMEOUT)
    except (gdown.DownloadError, RequestException, KeyError) as error:
        # An error of gdown may be wrapped about what Google's page says, of which the first sentence is enough.
        page = str(error.__context__ or error).partition(". ")[0]
        reason = f"connection failed: {type(error).__name__}" if isinstance(error, RequestException) else page
        reason = "the answer is not Google's" if isinstance(error, KeyError) else reason  # it lacks a header
        raise UserError(
            f"{url} can't be downloaded ({reason}); open it in a browser and save the file as {path}"
        ) from error
