"""Cameras whose physical pixel is well known, for files that name the camera but not its pixel.

The user's own table, ``cameras.toml`` in edfast's configuration folder (see `_settings`; ``~/.config/edfast`` on Linux), goes
before the built-in one::

    [pixel_size_um]
    "OneView" = 15.0
    "My prototype" = 27.5
"""

import re
import tomllib
from functools import lru_cache

from ._settings import folder
from ._validation import as_number

# Physical pixel [micrometre], from the makers' data sheets. Matched as the beginning of the camera's name, ignoring case,
# blanks and hyphens; the longest match wins.
CAMERAS = {
    "US1000": 14.0,       # Gatan UltraScan 1000, 2048 x 2048
    "UltraScan 1000": 14.0,
    "US4000": 15.0,       # Gatan UltraScan 4000, 4096 x 4096
    "UltraScan 4000": 15.0,
    "SC200": 7.4,         # Gatan Orius SC200, 2048 x 2048
    "Orius SC200": 7.4,
    "SC1000": 9.0,        # Gatan Orius SC1000, 4008 x 2672
    "Orius SC1000": 9.0,
    "OneView": 15.0,      # Gatan OneView, 4096 x 4096
    "Rio16": 9.0,         # Gatan Rio 16, 4096 x 4096
    "K2": 5.0,            # Gatan K2 Summit, 3838 x 3710
    "K3": 5.0,            # Gatan K3, 5760 x 4092
    "BM-Ceta": 14.0,      # Thermo Fisher Ceta 16M, 4096 x 4096; this is its name in Velox and MRC files
    "Ceta": 14.0,
    "BM-Falcon": 14.0,    # Thermo Fisher Falcon (2, 3, 4), 4096 x 4096
    "Falcon": 14.0,
    "EF-Falcon": 14.0,
    "TemCam-F416": 15.6,  # TVIPS TemCam-F416, 4096 x 4096
    "TemCam-XF416": 15.5,  # TVIPS TemCam-XF416, 4096 x 4096
    "Merlin": 55.0,       # Quantum Detectors Merlin: Medipix3, 55 micrometre
    "Medipix3": 55.0,
    "Timepix": 55.0,      # Timepix, Timepix3: 55 micrometre
    "EMPAD": 150.0,       # M. W. Tate et al., Microsc. Microanal. 22 (2016) 237, doi:10.1017/S1431927615015664
    "QUADRO": 75.0,       # Dectris QUADRO, 514 x 514
    "Dectris ELA": 75.0,  # Dectris ELA, 1030 x 514
    "SINGLA": 75.0,       # Dectris SINGLA, 1028 x 1062
    "ARINA": 100.0,       # Dectris ARINA, 192 x 192
}


def user_table_path():
    """Where the user's table of cameras is looked for."""
    return folder() / "cameras.toml"


def camera_pixel_size(*names):
    """Physical pixel of the camera that has one of these names.

    Parameters
    ----------
    *names : str or None
        What the file calls its camera.

    Returns
    -------
    pixel_size : float or None
        [micrometre]; None for an unknown camera.
    source : str or None
        Which table says so.

    Raises
    ------
    ValueError
        The user's table cannot be read; says which file and why.

    Examples
    --------
    >>> from edfast._cameras import camera_pixel_size
    >>> camera_pixel_size("US1000 1")
    (14.0, 'built-in table of cameras')
    >>> camera_pixel_size("an unknown camera")
    (None, None)
    """
    path = user_table_path()
    for table, source in ((_user_table(path), str(path)), (CAMERAS, "built-in table of cameras")):
        known = {_plain(camera): size for camera, size in table.items()}
        matches = [camera for camera in known for name in names if name and _begins(name, camera)]
        if matches:
            return known[max(matches, key=len)], source
    return None, None


def _begins(name, camera):
    """Whether `name` begins with `camera`, and does not go on with another digit: an SC2000 is no SC200."""
    pattern = r"[\W_]*".join(camera) + (r"(?!\d)" if camera[-1].isdigit() else "")
    return re.match(pattern, name.casefold()) is not None


@lru_cache(maxsize=256)
def _plain(name):
    return "".join(character for character in name.casefold() if character.isalnum())


def _user_table(path):
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return {}
    return _parsed(path, changed)


@lru_cache(maxsize=4)
def _parsed(path, _changed):
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as a table of cameras ({error})") from error
    table = content.get("pixel_size_um")
    if not isinstance(table, dict) or len(content) != 1:
        raise ValueError(f"{path}: needs one table [pixel_size_um] with lines such as \"OneView\" = 15.0, "
                         f"but has {', '.join(content) or 'nothing'}")
    for camera, size in table.items():
        try:
            as_number(size, f"pixel_size_um of camera {camera!r}", above=0, unit="[micrometre]")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None
        if not _plain(camera):
            raise ValueError(f"{path}: a camera needs a name with letters or digits, not {camera!r}")
    return {camera: float(size) for camera, size in table.items()}
