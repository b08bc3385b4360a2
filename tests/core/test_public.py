"""What `zipspark.core` offers is what its ``__all__`` says."""

from types import ModuleType

import zipspark.core


def test_all_is_exactly_what_is_public():
    public = {
        name
        for name, member in vars(zipspark.core).items()
        if not name.startswith("_") and not isinstance(member, ModuleType)
    }
    assert zipspark.core.__all__ == sorted(public)
