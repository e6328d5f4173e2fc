"""Names and ids: generated, made safe for every file system, read off Hydra's overrides.

Hydra's plugin scan imports this module in every Hydra app: the standard library only, and
omegaconf inside :func:`register_resolvers`.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import PurePath

__all__ = [
    "choose_name",
    "make_id",
    "name_from_directory",
    "overrides_slug",
    "register_resolvers",
    "sanitise",
]

_ADJECTIVES = """\
able agile airy alert amber ample apt aqua arch ashen astral azure bold bonny brave breezy brief
bright brisk bronze calm candid chief chilly civic clean clear clever cobalt coral cosmic cosy
crimson crisp cubic curly dapper daring dawn deep deft dense dewy divine double dreamy dusky early
earnest easy eager east ebon elder elfin epic equal exact fabled fair famed fancy fast fawn fiery
fine firm fleet floral fluent fond frank free fresh frosty full gentle gilded giant glad gleaming
glossy golden good grand grassy great green hale handy happy hardy hazel hearty hidden high honest
humble icy ideal indigo inner iron ivory jade jolly jovial just keen kind large lasting late lavish
leafy level light lilac lithe lively livid lofty lone loyal lucid lucky lunar lush magic main major
maple marble maroon mellow merry mild mighty minty misty modest moonlit mossy muted navy neat
new nimble noble north novel oaken oblong olive onyx opal open orange outer pale patient peaceful
pearly plain plum plush polar polite prime proud pure purple quick quiet rapid rare ready red regal
rich ripe robust rosy round royal ruby russet rustic sable safe sage sandy savvy scarlet
serene sharp shiny silent silken silver simple sleek smart smooth snowy snug soft solar solid sonic
spry stable stark steady steep stellar still stoic stout sunny super sure swift tall tame tan teal
tender tidal tidy topaz tranquil trim true twin upbeat urban valiant vast velvet verdant vivid warm
wary wavy west white whole wild willing windy wise witty woven young zesty
"""
_NOUNS = """\
acorn alder anchor ant apple arch arrow ash aspen atlas atoll aurora badger bamboo banyan barn basin
bay beacon beaver bee beech bell birch bison bloom boat bough boulder breeze bridge brook buck
butte cabin canal canyon cape cedar cherry cliff cloud clover coast comet condor coral cove coyote
crane creek crest crow crystal cypress daisy dale dawn deer delta dew dingo dolphin dove dragon
drum duck dune eagle earth echo egret elk elm ember falcon fawn feather fern field finch fir fjord
flame flint forest fox frog frost galaxy garden gate gecko geyser glacier glade glen goose gorge
grape grass grouse grove gull harbor hare harp hawk hazel heath hedge heron hill hollow horizon
ibex ibis inlet iris island ivy jaguar jasper jay juniper kelp kestrel kite kiwi koala lagoon lake
lantern larch lark laurel lava leaf lemur lichen lily linden lion llama lotus lynx magpie mango
maple marsh marten meadow mesa meteor mill mink mint mist moon moose moss moth mountain nebula nest
newt oak oasis ocean olive orbit orca orchid oriole osprey otter owl palm panda panther path peach
peak pear pebble pelican petal pigeon pine planet plateau plover pond poplar poppy prairie puffin
quail quartz quill rabbit rain rapids raven reed reef ridge river robin rock rook rose sail salmon
sand sequoia shade shell shore shrike sky snow sparrow spring spruce squirrel star stone stork
storm stream summit sun swallow swan swift sycamore tern thicket thistle thorn thrush thunder tide
tiger timber toad torch trail tree trout tulip tundra turtle vale valley vine violet vista vole
walnut wave whale willow wind wolf wombat wood wren yak yew zebra zephyr
"""
# Crockford's base 32: no i, l, o, u, so that an id survives being read aloud.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_HASH_LENGTH = 8
_LIMIT = 100
# Folders that Hydra, and everybody, calls the same: they say nothing about a run.
_GENERIC = frozenset({"outputs", "multirun", "output", "runs", "logs"})


def make_id(prefix: str = "") -> str:
    """Return a new session id such as ``amber-finch-7k3q``, one of more than 2**35.

    It is drawn from the operating system, never from a generator that the user has seeded.
    """
    words = f"{secrets.choice(_ADJECTIVES.split())}-{secrets.choice(_NOUNS.split())}"
    id = f"{words}-{''.join(secrets.choice(_ALPHABET) for _ in range(4))}"
    return f"{sanitise(prefix.rstrip('-'), 40)}-{id}" if prefix.strip("-") else id


def sanitise(text: str, limit: int = _LIMIT) -> str:
    """Return ``text`` as one component of a path: ``[A-Za-z0-9._-]``, at most ``limit`` bytes.

    A name that is fine comes back as it is. Any other gets a hash of the original at its end, so
    that distinct names stay distinct. Never empty, ``.``, ``..`` or with a leading ``-`` or ``.``.

    Raises:
        ValueError: ``limit`` is below 1.
    """
    if limit < 1:
        raise ValueError(f"a name needs a limit of at least 1 byte, not {limit}")
    cleaned = _clean(text)
    return cleaned if cleaned == text and 0 < len(cleaned) <= limit else _hashed(text, limit)


def overrides_slug(overrides: Sequence[str]) -> str:
    """Return the readable part of a name that Hydra's overrides make, ``lr-0.1-optim-adam``.

    Keys are shortened to their last component where that is unambiguous; overrides of the session
    (but its seed) and of Hydra itself are left out, of the same key the last one counts. Equal for
    equal overrides, at most 60 bytes; a hash at the end says that something could not be shown.
    Empty when nothing is left.
    """
    pairs: dict[str, str] = {}
    for override in overrides:
        key, value = _split_pair(override)
        ours = re.match(r"(session|hydra)([./@]|$)", key) and key != "session.seed"
        if key and not ours:
            pairs[key] = value
    short = _shorten(tuple(pairs))
    shown = "-".join(f"{short[key]}-{_plain(value)}".strip("-") for key, value in pairs.items())
    if not pairs or (0 < len(shown) <= 60 and _clean(shown) == shown):
        return shown
    return _hashed(shown, 60, source="\0".join(f"{k}={v}" for k, v in pairs.items()))


def choose_name(
    explicit: str | None, command_line: str | None, configured: str | None, generated: str
) -> str:
    """Return the first name that was given, sanitised; blank counts as not given."""
    given = (explicit, command_line, configured)
    return sanitise(next((str(name) for name in given if name and str(name).strip()), generated))


def name_from_directory(output_dir: str | PurePath, id: str) -> str:
    """Return the name of a run from Hydra's output directory and its id, which ends the name.

    The last folder names the run; one that begins with a digit (a date, a time, a job number)
    says little alone, so its parents come along: ``2026-11-20-05-01-22-<id>``,
    ``sweep-3-lr-0.1-<id>``.
    """
    id = sanitise(id, 64)
    parts: list[str] = []
    for part in reversed([part for part in PurePath(output_dir).parts if part not in ("/", "..")]):
        if part in _GENERIC or len(parts) == 3:
            break
        parts.insert(0, part)
        if not part[0].isdigit():
            break
    told = [part for part in (_clean(part.replace(id, "")).strip("-._") for part in parts) if part]
    room = _LIMIT - len(id) - 1
    while len(told) > 1 and len("-".join(told)) > room:
        told.pop(0)  # what stands last is what tells one run from the next
    words = "-".join(told)[:room].rstrip("-._")
    return f"{words}-{id}" if words else id


def register_resolvers() -> None:
    """Register ``${session_id:}`` and ``${session_slug:...}`` with OmegaConf, however often.

    ``session_id`` gives one id a config: fresh for each job of a multirun. With a key,
    ``${session_id:sweep}``, it is one id for all that inherit the config in which it was first
    read: all the jobs of a sweep, when ``hydra.sweep.dir`` holds it.
    ``${session_slug:${hydra.job.override_dirname}}`` is :func:`overrides_slug` of the job's
    overrides, and ``defaults`` when there are none, so that a folder never ends in a dash.
    """
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("session_id", _session_id, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("session_slug", _session_slug, replace=True)


def _session_id(*_key: object) -> str:
    return make_id()


def _session_slug(*dirname: object) -> str:
    from keisei_lightning.redaction import make_redactor

    # An override_dirname written out in a config is split at its commas by OmegaConf.
    text = ",".join(str(part) for part in dirname)
    # The slug becomes a folder's name, which every listing and log line shows.
    overrides = make_redactor().overrides(_split_overrides(text))
    return overrides_slug(overrides) or "defaults"


def _clean(text: str) -> str:
    """Keep what is allowed, letters without their accents; a dash stands for anything else."""
    letters = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).lstrip("-.")


def _hashed(text: str, limit: int, source: str | None = None) -> str:
    origin = (text if source is None else source).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(origin).hexdigest()[:_HASH_LENGTH]
    base = _clean(text)[: max(limit - _HASH_LENGTH - 1, 0)].rstrip("-._")
    return f"{base}-{digest}" if base else digest[:limit]


def _split_pair(override: str) -> tuple[str, str]:
    key, _, value = override.strip().partition("=")
    return key.strip().lstrip("+~"), value.strip()


def _shorten(keys: tuple[str, ...]) -> dict[str, str]:
    """Give each key the fewest of its last components that no other key ends with."""
    parts = {key: re.split(r"[./@]", key) for key in keys}

    def tail(key: str, length: int) -> str:
        return ".".join(parts[key][-length:])

    def alone(key: str, length: int) -> bool:
        return all(tail(other, length) != tail(key, length) for other in keys if other != key)

    return {
        key: next((tail(key, n) for n in range(1, len(parts[key])) if alone(key, n)), key)
        for key in keys
    }


def _plain(value: str) -> str:
    """Take the quotes, the brackets and the separators out of a value of Hydra's."""
    bare = re.sub(r"[\s,:=/\\]+", "-", re.sub(r"['\"\[\]{}()<>]", "", value))
    return bare if bare.strip("-") or not value else "empty"


def _split_overrides(text: str) -> Iterator[str]:
    """Split ``k=v,k2=v2`` at the commas that stand outside quotes and brackets."""
    depth, quote, start, escaped = 0, "", 0, False
    for index, character in enumerate(text):
        if escaped or character == "\\":
            escaped = not escaped
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth = max(depth - 1, 0)
        elif character == "," and not depth:
            yield text[start:index]
            start = index + 1
    yield text[start:]
