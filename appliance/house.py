"""The house, built: every part made once and handed what it needs."""

import importlib.metadata
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from appliance import __version__
from appliance.api import docs
from appliance.api.system import System
from appliance.assets import Assets
from appliance.config import Config
from appliance.dashboard import routes as pages
from appliance.dashboard.visitor import DashboardSettings
from appliance.engine import factory
from appliance.engine.simulator import Simulator
from appliance.gateway.accounts import Accounts
from appliance.gateway.backups import Backups
from appliance.gateway.clock import SystemClock
from appliance.gateway.deliveries import DeliveryWorker
from appliance.gateway.delivery_bell import DeliveryBell
from appliance.gateway.destinations import Destinations
from appliance.gateway.devices import DeviceManager, Engines
from appliance.gateway.downloads import Downloads
from appliance.gateway.drains import Drains
from appliance.gateway.events import EventLog
from appliance.gateway.fanout import Fanout
from appliance.gateway.figures import Counting
from appliance.gateway.gateway import Gateway
from appliance.gateway.http_client import Lookup
from appliance.gateway.inbound import Inbound
from appliance.gateway.incoming_messages import IncomingMessages
from appliance.gateway.installation import Installation
from appliance.gateway.invites import Invites
from appliance.gateway.limits import RateLimits
from appliance.gateway.loop_lag import LoopLag
from appliance.gateway.media import Media
from appliance.gateway.media_fetch import Fetcher
from appliance.gateway.media_links import MediaLinks
from appliance.gateway.media_shelf import Shelf
from appliance.gateway.moves import Moves
from appliance.gateway.outbox import Outbox
from appliance.gateway.people import People
from appliance.gateway.receipts import Receipts
from appliance.gateway.removal import Removal
from appliance.gateway.retention import Retention
from appliance.gateway.sandbox import Sandbox
from appliance.gateway.setup_token import SetupToken
from appliance.gateway.states import DeviceStates
from appliance.gateway.store_care import StoreCare
from appliance.gateway.tickets import Tickets
from appliance.gateway.vault import Vault
from appliance.gateway.webhooks import Webhooks
from appliance.model.clock import Clock
from appliance.server import App, Readiness, build_app
from appliance.store.database import SQLITE_VERSION, Database
from appliance.store.look import has_accounts
from appliance.store.opening import Opening


@dataclass
class House:
    """The parts that the runtime starts and stops; `gateway` is what the doors see."""

    config: Config
    db: Database
    gateway: Gateway
    states: DeviceStates
    inbound: Inbound
    moves: Moves
    drains: Drains
    deliveries: DeliveryWorker
    downloads: Downloads
    retention: Retention
    removal: Removal
    backups: Backups
    care: StoreCare
    engines: Engines
    lag: LoopLag
    setup_token: SetupToken
    destinations: Destinations
    readiness: Readiness
    app: App
    base_url: str

    async def open(self) -> None:
        """Read into memory what is kept there."""
        await self.gateway.events.open()
        await self.gateway.accounts.open()
        await self.states.load(self.db.reader)
        await self.gateway.limits.rebuild(self.db.reader)
        await self.gateway.media.open()

    async def open_engines(self) -> None:
        await self.engines.sandbox.open(self.inbound.put)
        await self.engines.real.open(self.inbound.put)

    async def close_engines(self) -> None:
        await self.gateway.devices.stop()
        await self.engines.sandbox.close()
        await self.engines.real.close()

    def loops(self) -> dict[str, Coroutine[Any, Any, None]]:
        """The background loops by name: each runs until it is cancelled."""
        return {
            "drains": self.drains.run(),
            "devices": self.gateway.devices.run(),
            "downloads": self.downloads.run(),
            "deliveries": self.deliveries.run(),
            "retention": self.retention.run(),
            "removal": self.removal.run(),
            "backups": self.backups.run(),
            "store-care": self.care.run(),
            "loop-lag": self.lag.run(),
        }

    def use(self, config: Config) -> None:
        """Go by what can be changed in a running house from now on."""
        self.gateway.accounts.use(config.accounts)
        self.gateway.limits.use(config.limits)
        self.gateway.outbox.use(config.limits)
        self.gateway.media.use(config.media)
        self.downloads.use(config.media)
        self.destinations.use(config.webhooks.allow)
        self.retention.use(config.retention)
        self.backups.use(config.backup)

    def close(self) -> None:
        self.gateway.accounts.close()


def build(
    config: Config,
    db: Database,
    opened: Opening | None = None,
    *,
    clock: Clock | None = None,
    lookup: Lookup | None = None,
) -> House:
    """Make every part over the open database, with this machine's clock and name look-up unless others are
    given. Raises VaultError, AssetsMissing, AllowEntryInvalid."""
    clock = clock or SystemClock()
    vault = Vault.from_file(config.data / "secret.key", is_first=not has_accounts(db.path))
    address, base_url = (config.server.host, config.server.port), base_url_of(config)
    backups = Backups(db.path, clock, config.backup)
    care = StoreCare(db, opened or Opening(), backups)
    setup_token = SetupToken(config.data / "setup-token")
    accounts = Accounts(db, db.reader, vault, clock, config.accounts, setup_token)
    events = EventLog(db.reader, Fanout(), clock)
    limits = RateLimits(clock, config.limits)
    destinations = Destinations(config.webhooks.allow, lambda: accounts.is_single, address, lookup)
    webhooks = Webhooks(db, db.reader, vault, clock, destinations, events)
    deliveries = DeliveryWorker(db, db.reader, vault, clock, destinations)
    events.listen(DeliveryBell(db, deliveries.wakeup))
    webhooks.on_changed.append(deliveries.refresh)
    webhooks.under_way = deliveries.under_way

    simulator = Simulator(clock)
    real = factory.build(config.engine)
    engines = Engines(real, simulator, single_real=real.single_device)
    states = DeviceStates(events, clock)
    devices = DeviceManager(db, clock, vault, states, events, limits, engines, config.data / "devices")
    shelf = Shelf(db, clock, config.media, config.data, MediaLinks(vault.derived("media-link"), base_url))
    media = Media(db.reader, clock, config.media, config.data, Fetcher(address, lookup=lookup), shelf)
    downloads = Downloads(db, clock, devices, events, shelf, config.media)
    receipts = Receipts(events, clock)
    messages = IncomingMessages(events, clock)
    drains = Drains(db, clock, devices, events, receipts, limits, media.on_done)
    messages.on_file = downloads.wanted
    states.on_connected = drains.kick
    states.on_unlinked = drains.fail_all
    inbound, lag = Inbound(db, clock, states, messages, receipts, drains), LoopLag()
    moves = Moves(db, clock, states, devices, engines, config.data / "devices", inbound.drained)
    counting = Counting(
        drains=drains,
        receipts=receipts,
        incoming=messages,
        inbound=inbound,
        deliveries=deliveries,
        writer=lambda: db.figures,
        lag=lag,
        worker_lives=real.lives,
        helpers=real.processes,
    )
    removal = Removal(db)
    devices.on_deleted += [drains.forget, shelf.forget, removal.kick]
    webhooks.on_changed.append(removal.kick)

    gateway = Gateway(
        reader=db.reader,
        clock=clock,
        accounts=accounts,
        invites=Invites(db, db.reader, clock, accounts),
        people=People(accounts, devices),
        devices=devices,
        outbox=Outbox(db, clock, devices, drains, limits, config.limits, care.refuse_when_low),
        media=media,
        events=events,
        webhooks=webhooks,
        limits=limits,
        tickets=Tickets(db, db.reader, clock),
        sandbox=Sandbox(db.reader, clock, devices, events, media, simulator),
        installation=Installation(versions(), db.path, clock, backups, care.state),
    )
    readiness = Readiness(db)
    assets = Assets()
    dashboard = pages.router(gateway, assets, DashboardSettings(config.server.public_url))
    app = build_app(
        gateway,
        System(readiness, versions(), care.state, counting, config.metrics.public),
        public_url=config.server.public_url,
        dashboard=dashboard,
        documents=docs.handlers(assets),
    )
    return House(
        config=config,
        db=db,
        gateway=gateway,
        states=states,
        inbound=inbound,
        moves=moves,
        drains=drains,
        deliveries=deliveries,
        downloads=downloads,
        retention=Retention(db, clock, config.retention, media),
        removal=removal,
        backups=backups,
        care=care,
        engines=engines,
        lag=lag,
        setup_token=setup_token,
        destinations=destinations,
        readiness=readiness,
        app=app,
        base_url=base_url,
    )


def base_url_of(config: Config) -> str:
    """The address that links begin with: the public one, else the listener's own."""
    if config.server.public_url:
        return config.server.public_url.rstrip("/")
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    scheme = "https" if config.tls.is_on else "http"
    return f"{scheme}://{host}:{config.server.port}"


def versions() -> dict[str, str]:
    """What runs here, for whoever asks for help."""
    return {
        "gateway": __version__,
        "engine": importlib.metadata.version("neonize"),
        "sqlite": SQLITE_VERSION,
    }
