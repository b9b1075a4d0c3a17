"""The database: an index of data sets, runs and detectors, the queue of scans, and the audit trail.

SQLite or PostgreSQL, through SQLAlchemy's expressions, so that both do the same. Everything in it can be made again
from the data folder (``refill``). It knows rows, not files or HTTP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import (
    Column,
    Float,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from blemish.errors import ConfigError
from blemish.service.workspace import Workspace, now

__all__ = ["Store", "away"]

Facts = dict[str, Any]
AWAY = ("08", "53", "57P")  # PostgreSQL's codes of connections that end, of too many of them, and of its shutdown
_tables = MetaData()
_datasets = Table(
    "datasets",
    _tables,
    Column("id", String(16), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", String(16), nullable=False),  # upload or folder
    Column("path", Text, nullable=False),
    Column("holds", String(16), nullable=False),  # photos or volumes
    Column("photos", Integer, nullable=False),
    Column("bytes", Float, nullable=False),
    Column("created", String(40), nullable=False),
)
_runs = Table(
    "runs",
    _tables,
    Column("id", String(16), primary_key=True),
    Column("dataset", String(16), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("settings", Text, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("queued", String(40), nullable=False),
    Column("created", String(40), nullable=False),
    Column("finished", String(40), nullable=False),
    Column("error", Text, nullable=False),
    Column("message", Text, nullable=False),
)
_detectors = Table(
    "detectors",
    _tables,
    Column("id", String(16), primary_key=True),
    Column("run", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("meaning", Text, nullable=False),
    Column("threshold", Float, nullable=False),
    Column("bytes", Float, nullable=False),
    Column("created", String(40), nullable=False),
)
_audit = Table(
    "audit",
    _tables,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("when", String(40), nullable=False),
    Column("who", Text, nullable=False),
    Column("what", String(40), nullable=False),
    Column("run", String(16), nullable=False, index=True),
    Column("detail", Text, nullable=False),
)
_folder = Table(
    "folder",
    _tables,
    Column("number", Integer, primary_key=True, autoincrement=False),  # always ONE, so that there is one row
    Column("id", String(16), nullable=False),  # of the data folder that this is the index of
)
ONE = 1


class Store:
    """Every method is one transaction. They may be called from several threads."""

    def __init__(self, url: str) -> None:
        """Raises ``ConfigError`` if there is no such database."""
        try:
            self._engine = create_engine(url, pool_pre_ping=True)
            if self._engine.dialect.name == "sqlite":
                event.listen(self._engine, "connect", _careful)
            _tables.create_all(self._engine)
        except (SQLAlchemyError, ImportError, OSError) as error:
            raise ConfigError(
                f"Cannot open the database ({type(error).__name__}: {_first_line(error)}). --database takes "
                "postgresql://USER:PASSWORD@HOST/NAME, with pip install 'blemish[postgres]'; without it a file in "
                "--data is used."
            ) from error

    def close(self) -> None:
        self._engine.dispose()

    def add(self, what: str, facts: Mapping[str, Any]) -> None:
        table = _named(what)
        with self._engine.begin() as connection:
            connection.execute(insert(table).values(**_known(table, facts)))

    def change(self, what: str, id_: str, **values: Any) -> None:
        table = _named(what)
        with self._engine.begin() as connection:
            connection.execute(update(table).where(table.c.id == id_).values(**values))

    def remove(self, what: str, id_: str) -> None:
        table = _named(what)
        with self._engine.begin() as connection:
            connection.execute(delete(table).where(table.c.id == id_))

    def find(self, what: str, id_: str) -> Facts | None:
        table = _named(what)
        with self._engine.connect() as connection:
            row = connection.execute(select(table).where(table.c.id == id_)).first()
        return None if row is None else _plain(row)

    def all(self, what: str) -> list[Facts]:
        """The newest first."""
        table = _named(what)
        with self._engine.connect() as connection:
            return [
                _plain(row) for row in connection.execute(select(table).order_by(table.c.created.desc(), table.c.id))
            ]

    def runs_of(self, dataset: str) -> list[Facts]:
        with self._engine.connect() as connection:
            return [_plain(row) for row in connection.execute(select(_runs).where(_runs.c.dataset == dataset))]

    def take(self) -> Facts | None:
        """The run that waits longest, now running; None if none waits."""
        waiting = select(_runs).where(_runs.c.state == "queued").order_by(_runs.c.queued, _runs.c.id).limit(1)
        with self._engine.begin() as connection:
            row = connection.execute(waiting).first()
            if row is None:
                return None
            taken = update(_runs).where(_runs.c.id == row.id, _runs.c.state == "queued").values(state="running")
            return {**_plain(row), "state": "running"} if connection.execute(taken).rowcount else None

    def move(self, run: str, allowed: Sequence[str], **values: Any) -> bool:
        """Change a run whose state is one of ``allowed``; False if it is in another."""
        with self._engine.begin() as connection:
            moved = update(_runs).where(_runs.c.id == run, _runs.c.state.in_(allowed)).values(**values)
            return bool(connection.execute(moved).rowcount)

    def note(self, line: Mapping[str, Any]) -> None:
        with self._engine.begin() as connection:
            connection.execute(insert(_audit).values(**_known(_audit, line)))

    def audit(self, run: str | None, limit: int) -> list[Facts]:
        """The newest first."""
        wanted = select(_audit).order_by(_audit.c.number.desc()).limit(limit)
        if run is not None:
            wanted = wanted.where(_audit.c.run == run)
        with self._engine.connect() as connection:
            return [_plain(row) for row in connection.execute(wanted)]

    def belong(self, folder: str) -> None:
        """Be the index of the data folder with this id from now on. Raises ``ConfigError`` if it is another's: two
        services would take each other's runs."""
        with suppress(IntegrityError), self._engine.begin() as connection:
            if connection.execute(select(_folder.c.id)).first() is None:
                connection.execute(insert(_folder).values(number=ONE, id=folder))
        with self._engine.connect() as connection:
            known = connection.execute(select(_folder.c.id)).scalar_one()
        if known != folder:
            raise ConfigError(
                f"The database is the index of another data folder ({known}; this one is {folder}). Give every --data "
                "a --database of its own."
            )

    def refill(self, workspace: Workspace) -> None:
        """Rows of what lies in the data folder and is not indexed: the database was lost, or is another one."""
        for what, name in (("datasets", "dataset"), ("runs", "job"), ("detectors", "detector")):
            for facts in workspace.facts(name):
                if self.find(what, facts["id"]) is not None:
                    continue
                done = what == "runs" and (workspace.run(facts["id"]) / "run.json").is_file()
                state = {"state": "done" if done else "cancelled", "finished": now() if done else ""}
                row = {**state, "error": "", "message": "", "queued": facts.get("created", ""), **facts}
                if not _whole(_named(what), row):
                    continue  # a file that was cut short or tampered with: the others are taken
                self.add(what, row)
        self.catch_up(workspace.audit())

    def catch_up(self, lines: Sequence[Mapping[str, str]]) -> None:
        """Add those lines of the audit trail that are not in it."""
        names = [column.name for column in _audit.c if column is not _audit.c.number]
        with self._engine.begin() as connection:
            known = Counter(tuple(row) for row in connection.execute(select(*(_audit.c[name] for name in names))))
            for line in lines:
                told = tuple(line[name] for name in names)
                if known[told]:
                    known[told] -= 1  # the same may have been said twice
                else:
                    connection.execute(insert(_audit).values(**line))


def away(error: BaseException) -> bool:
    """Whether the database cannot be reached, and not what it was asked is wrong."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    told = getattr(error.orig, "args", ())
    code = told[0].get("C", "") if told and isinstance(told[0], dict) else ""
    return error.connection_invalidated or str(code).startswith(AWAY)


def _named(what: str) -> Table:
    return _tables.tables[what]


def _known(table: Table, facts: Mapping[str, Any]) -> Facts:
    return {name: value for name, value in facts.items() if name in table.c}


def _whole(table: Table, facts: Mapping[str, Any]) -> bool:
    """Whether every column has a value that the database takes."""
    for column in table.c:
        kind, value = column.type.python_type, facts.get(column.name)
        if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
            return False
        if isinstance(value, str) and (
            "\0" in value or len(value) > (getattr(column.type, "length", None) or len(value))
        ):
            return False
        if kind is int and isinstance(value, int) and not 0 <= value < 2**31:
            return False
    return True


def _plain(row: Row[Any]) -> Facts:
    return dict(row._mapping)


def _careful(connection: Any, record: object) -> None:
    """Readers do not wait for the one that writes, and nobody fails because another is at it."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.close()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
