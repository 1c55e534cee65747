"""What tests of the store may use: a database of their own, with the newest schema."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.store.database import Database, StoreSettings
from appliance.store.migrate import migrate


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "gateway.db"
    migrate(path, StoreSettings())
    database = Database(path, StoreSettings())
    await database.open()
    yield database
    await database.close()
