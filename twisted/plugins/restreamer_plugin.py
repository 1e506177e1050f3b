"""Data only: tells twistd that ``restreamer`` exists; importing it loads nothing of the program."""

from twisted.application.service import ServiceMaker

restreamer = ServiceMaker(
    "Restreamer",
    "restreamer.tap",
    "An open cluster restreamer for live video",
    "restreamer",
)
