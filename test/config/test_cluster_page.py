"""The files of C{conf/cluster} and the page about them, C{docs/cluster.md}."""

from __future__ import annotations

import glob
import os
import re

from twisted.trial.unittest import SynchronousTestCase

from restreamer.cluster import link_protocol, progress_marks
from restreamer.cluster.catalogue import MAX_PATH
from restreamer.config.load import Loaded, load, parse
from restreamer.config.model import Configuration, DvrConfig
from restreamer.sources import input_slot
from restreamer.web.limits import FrontLimits

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "conf", "cluster")
EXPLAINED = 0.1
ABSENT_HERE = {"storage", "ssl_certificate", "ssl_certificate_key"}
HELD: dict[str, set[str]] = {}


def names() -> list[str]:
    return sorted(os.path.basename(each)[:-5] for each in glob.glob(os.path.join(FOLDER, "*.conf")))


def text(name: str) -> str:
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read()


def recipe(name: str) -> Loaded:
    return load(os.path.join(FOLDER, f"{name}.conf"), examples=True)


def of(name: str) -> Configuration:
    return recipe(name).configuration


def page() -> str:
    with open(os.path.join(ROOT, "docs", "cluster.md"), encoding="utf-8") as file:
        return file.read()


class RecipeTests(SynchronousTestCase):
    def test_every_file_loads_and_is_explained(self) -> None:
        self.assertTrue(len(names()) >= 12)
        for name in names():
            with self.subTest(name):
                warned = {each.word for each in recipe(name).warnings} - ABSENT_HERE
                self.assertEqual(warned, {"cluster_key"} | HELD.get(name, set()))
                lines = [line.strip() for line in text(f"{name}.conf").splitlines() if line.strip()]
                self.assertTrue(sum(line.startswith("#") for line in lines) > EXPLAINED * len(lines))
                self.assertTrue(all(len(line) <= 120 for line in lines))

    def test_commented_examples_are_right_too(self) -> None:
        for name in names():
            bare = re.sub(r"(?m)^( *)# ([a-z_]+ [^ \n]*;)$", r"\1\2", text(f"{name}.conf"))
            with self.subTest(name):
                warned = {each.word for each in parse(bare, name).warnings}
                self.assertEqual(warned, {"cluster_key"} | HELD.get(name, set()))

    def test_they_are_on_the_page(self) -> None:
        for name in (*(f"{each}.conf" for each in names()), "load-balancer.nginx"):
            self.assertIn(f"[conf/cluster/{name}](../conf/cluster/{name})", page())
        shown = re.findall(r"(?ms)^\[conf/cluster/([a-z-]+)\.conf\]\S+:\n\n```conf\n(.*?)^```", page())
        self.assertEqual({name for name, _ in shown}, set(names()) - set(HELD))
        for name, body in shown:
            with self.subTest(name):
                self.assertEqual(parse(body).configuration, of(name))

    def test_origins_and_edges_fit_together(self) -> None:
        origin = of("origin")
        ports = {each.port for each in origin.http}
        for name in ("edge", "middle", "edge-on-demand", "edge-backup", "edge-behind-proxy"):
            edge = of(name)
            self.assertTrue({each.port for each in edge.sources} <= ports, name)
            self.assertEqual({each.cluster_key for each in edge.sources}, {origin.cluster_key})
        self.assertIn(of("far-edge").sources[0].port, {each.port for each in of("middle").http})
        self.assertEqual(
            [each.host for each in of("edge").sources], ["origin1.example.net", "origin2.example.net"]
        )
        self.assertEqual(of("edge-on-demand").sources[0].only, ())

    def test_tls_fits_together(self) -> None:
        origin, edge = of("origin-tls"), of("edge-tls")
        (source,) = edge.sources
        self.assertTrue(source.tls)
        self.assertEqual([each.port for each in origin.https], [source.port])

    def test_pushed_names_are_taken(self) -> None:
        pushing, taking = of("push"), of("origin").templates["live"]
        (push,) = pushing.templates["live"].make("live/x").push
        self.assertEqual((push.path, push.port), ("live/x", of("origin").http[0].port))
        self.assertTrue(taking.takes(push.path))

    def test_backups_are_alike(self) -> None:
        first, second = of("edge-backup").sources
        self.assertEqual(first.backup, second.backup)

    def test_proxy_and_balancer_lead_to_edges(self) -> None:
        servers = re.findall(r"server (\S+):(\d+) ", text("load-balancer.nginx"))
        edges = of("edge-behind-proxy")
        self.assertEqual({int(port) for _, port in servers}, {edges.http[0].port})
        self.assertFalse(edges.http[0].api)
        (balancer,) = of("balancer").balancers.values()
        self.assertEqual([str(peer) for peer, _ in balancer.peers], [":".join(each) for each in servers])
        url = f"http://HERE/{balancer.name}/live/studio/index.m3u8"
        self.assertIn(url, page())
        self.assertIn(url, text("balancer.conf"))

    def test_the_archive_is_an_on_demand_edge(self) -> None:
        (source,) = of("edge-archive").sources
        archive = DvrConfig(root="/var/lib/restreamer/archive", depth=2 * 86400, percent=90)
        self.assertEqual((source.only, source.dvr), ((), archive))
        self.assertIn("`dvr /var/lib/restreamer/archive 2d 90%;`", " ".join(page().split()))


class FigureTests(SynchronousTestCase):
    def test_figures_of_the_page(self) -> None:
        told = " ".join(page().split())
        silent, ahead = link_protocol.SOURCE_IDLE_SECONDS, progress_marks.AHEAD_SECONDS
        self.assertIn(f"not even heartbeats | {silent} s |", told)
        self.assertIn(f"another source of the stream is ahead of it | {ahead} s |", told)
        first, longest = input_slot.FIRST_SETTLE, input_slot.LONGEST_SETTLE
        self.assertIn(f"has been there for {first:.0f} s, and twice as long", told)
        self.assertIn(f"up to {longest:.0f} s. It is joined", told)
        self.assertEqual(MAX_PATH, 16)
        self.assertIn("Sixteen nodes in a row", told)
        self.assertIn(f"takes {FrontLimits().per_address} connections from it", told)
