"""When a certificate is ordered, when not, and what is served meanwhile; the order itself is the test's."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from pairs import pair
from patience import PATIENCE_S

from appliance.certificate_orders import Job, OrderFailed
from appliance.certificates import Certificates, ends_soon, readable, renew_at, wait_s
from appliance.tls import Pair, TlsSettings, TlsUnusable

DAY_S = 86_400
HOUR_S = 3600
NAME = "wa.example.org"
ORDERED = TlsSettings(acme_domains=[NAME], acme_agree=True)


class Giver:
    """Gives certificates of `days`, or refuses while `refuses`; `jobs` are what was ordered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: list[Job] = []
        self.refuses = False
        self.now = time.time()

    async def order(self, job: Job) -> bytes:
        self.jobs.append(job)
        if self.refuses:
            raise OrderFailed("the name does not lead here")
        age_days = (time.time() - self.now) / DAY_S
        certificate, key = pair(self.folder, names=tuple(job.domains), age_days=age_days)
        return key.read_bytes() + certificate.read_bytes()

    def clock(self) -> float:
        return self.now


@pytest.fixture
def giver(tmp_path: Path) -> Giver:
    return Giver(tmp_path / "giver")


@pytest.fixture
def made(tmp_path: Path, giver: Giver) -> Callable[..., Certificates]:
    def certificates(settings: TlsSettings = ORDERED) -> Certificates:
        fresh = Certificates(settings, tmp_path / "tls", "127.0.0.1", giver.order, giver.clock)
        fresh.prepare()
        return fresh

    return certificates


@asynccontextmanager
async def running(certificates: Certificates) -> AsyncIterator[asyncio.Queue[bytes]]:
    """Looked after; what it has replaced comes in the queue."""
    replaced: asyncio.Queue[bytes] = asyncio.Queue()
    task = asyncio.create_task(certificates.run(replaced.put))
    yield replaced
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def looked(certificates: Certificates, settings: TlsSettings = ORDERED) -> None:
    """Ask, and wait until it has looked."""
    certificates.use(settings)
    async with asyncio.timeout(PATIENCE_S):
        while certificates._asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_stand_in_is_served_until_the_first_certificate_comes(
    made: Callable[..., Certificates], giver: Giver
) -> None:
    certificates = made()
    assert certificates.state().source == "stand_in"
    assert not certificates.state().is_well
    async with running(certificates) as replaced:
        pem = await asyncio.wait_for(replaced.get(), PATIENCE_S)
    assert pem == certificates.pem
    assert certificates.state().source == "ordered"
    assert certificates.state().is_well
    assert [(job.domains, job.host, job.port) for job in giver.jobs] == [([NAME], "127.0.0.1", 80)]


async def test_it_is_ordered_again_at_two_thirds_of_its_life_and_not_before(
    made: Callable[..., Certificates], giver: Giver
) -> None:
    async with running(made()) as replaced:
        await asyncio.wait_for(replaced.get(), PATIENCE_S)
    for days, orders in ((1, 1), (55, 1), (61, 2), (62, 2)):
        giver.now = time.time() + days * DAY_S
        certificates = made()
        async with running(certificates):
            await looked(certificates)
        assert len(giver.jobs) == orders, f"day {days}"


async def test_a_failed_order_waits_longer_each_time_and_the_old_certificate_stays(
    made: Callable[..., Certificates], giver: Giver
) -> None:
    async with running(made()) as replaced:
        await asyncio.wait_for(replaced.get(), PATIENCE_S)
    giver.refuses = True
    giver.now += 65 * DAY_S
    for wait, orders in ((0, 2), (0.9 * HOUR_S, 2), (0.2 * HOUR_S, 3), (1.9 * HOUR_S, 3), (0.2 * HOUR_S, 4)):
        giver.now += wait
        certificates = made()
        before = len(giver.jobs)
        async with running(certificates):
            # Nobody asks: a start alone must not order sooner.
            async with asyncio.timeout(PATIENCE_S):
                while len(giver.jobs) == before and certificates._due_at() <= giver.now:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0)
        assert len(giver.jobs) == orders
        assert certificates.state().source == "ordered"
    assert certificates.state().problem == "the name does not lead here"
    assert not certificates.state().is_well


async def test_a_disk_that_takes_nothing_costs_the_order_and_not_the_gateway(
    made: Callable[..., Certificates], giver: Giver, tmp_path: Path
) -> None:
    certificates = made()
    # A folder where the note would be written: it cannot be, whoever runs the test.
    (tmp_path / "tls" / "last-order.json.new").mkdir()
    async with running(certificates):
        await looked(certificates)
        assert not certificates.state().is_well
        assert "last-order.json" in (certificates.state().problem or "")
        assert certificates._due_at() > giver.now
    assert giver.jobs == []
    (tmp_path / "tls" / "last-order.json.new").rmdir()
    giver.now += 2 * HOUR_S
    async with running(certificates) as replaced:
        await asyncio.wait_for(replaced.get(), PATIENCE_S)
    assert certificates.state().is_well


async def test_who_asks_need_not_wait_as_long_and_other_names_not_at_all(
    made: Callable[..., Certificates], giver: Giver
) -> None:
    giver.refuses = True
    certificates = made()
    async with running(certificates) as replaced:
        await looked(certificates)
        assert len(giver.jobs) == 1
        giver.now += 600
        await looked(certificates)
        assert len(giver.jobs) == 1
        giver.now += 400
        giver.refuses = False
        await looked(certificates)
        assert len(giver.jobs) == 2
        await asyncio.wait_for(replaced.get(), PATIENCE_S)
        assert certificates.state().is_well
    other = made(TlsSettings(acme_domains=[NAME, f"www.{NAME}"], acme_agree=True))
    async with running(other) as replaced:
        await asyncio.wait_for(replaced.get(), PATIENCE_S)
    assert giver.jobs[-1].domains == [NAME, f"www.{NAME}"]


def test_the_waits_grow_to_a_day() -> None:
    assert [wait_s(n, asked=False) / HOUR_S for n in (1, 2, 3, 5, 6, 60)] == [1, 2, 4, 16, 24, 24]
    assert wait_s(9, asked=True) == 900


def test_not_all_renew_at_the_same_moment(tmp_path: Path) -> None:
    begins = time.time() - DAY_S
    shares = set()
    for number in range(8):
        certificate = x509.load_pem_x509_certificate(pair(tmp_path / str(number))[0].read_bytes())
        shares.add(round((renew_at(certificate) - begins) / (90 * DAY_S), 4))
    assert len(shares) > 4
    assert 2 / 3 - 1 / 24 <= min(shares) <= max(shares) <= 2 / 3


@pytest.mark.parametrize(("days", "warned_for_days"), [(90, 5), (47, 5), (6, 1)])
def test_a_certificate_ends_soon_by_its_whole_life(tmp_path: Path, days: int, warned_for_days: int) -> None:
    certificate = x509.load_pem_x509_certificate(pair(tmp_path, days=days)[0].read_bytes())
    ends = certificate.not_valid_after_utc.timestamp()
    assert not ends_soon(certificate, ends - (warned_for_days + 0.1) * DAY_S)
    assert ends_soon(certificate, ends - (warned_for_days - 0.1) * DAY_S)
    assert not ends_soon(certificate, renew_at(certificate))


async def test_files_that_were_replaced_are_served_and_bad_ones_are_not(
    made: Callable[..., Certificates], tmp_path: Path
) -> None:
    certificate, key = pair(tmp_path / "own")
    settings = TlsSettings(certificate=str(certificate), key=str(key))
    certificates = made(settings)
    async with running(certificates) as replaced:
        key.write_text("nothing")
        await looked(certificates, settings)
        assert replaced.empty()
        assert "no private key" in (certificates.state().problem or "")
        pair(tmp_path / "own")
        certificates.use(settings)
        await asyncio.wait_for(replaced.get(), PATIENCE_S)
    assert certificates.state().is_well


async def test_a_key_that_the_server_refuses_is_told_and_the_old_one_stays(
    made: Callable[..., Certificates], tmp_path: Path
) -> None:
    certificate, key = pair(tmp_path / "own")
    settings = TlsSettings(certificate=str(certificate), key=str(key))
    certificates = made(settings)
    served = certificates.pem

    async def refuse(pem: bytes) -> None:
        raise TlsUnusable("tls.key: not this kind")

    task = asyncio.create_task(certificates.run(refuse))
    pair(tmp_path / "own")
    await looked(certificates, settings)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert certificates.pem == served
    assert certificates.state().problem == "tls.key: not this kind"


def test_what_cannot_be_served_with_is_refused_at_the_start(made: Callable[..., Certificates]) -> None:
    with pytest.raises(TlsUnusable, match=r"tls\.certificate: none: No such file"):
        made(TlsSettings(certificate="none", key="none"))


def test_keys_that_would_abort_the_server_are_refused(tmp_path: Path) -> None:
    for curve, good in ((ec.SECP384R1(), True), (ec.SECP521R1(), False), (ec.SECP256K1(), False)):
        certificate, key = pair(tmp_path, curve=curve)
        if good:
            assert readable(Pair(certificate, key)).startswith(b"-----BEGIN PRIVATE KEY-----")
        else:
            with pytest.raises(TlsUnusable, match=r"tls\.key: .*this kind of key"):
                readable(Pair(certificate, key))
