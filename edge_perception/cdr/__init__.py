"""Serialised messages (CDR) read in place and written once, for any message type.

A reader is made from the description that every ROS message class carries
(`get_fields_and_field_types`), so this folder imports no ROS package. What it returns has the
attribute names of the message; `uint8[]` is a memoryview and other numeric arrays are NumPy views
of the buffer, nothing of their size is copied. Format: OMG DDS-XTypes 1.3, 7.4.1 (XCDR version 1,
which all ROS 2 middlewares use), encapsulation header of RTPS 2.3, 10.2.
"""

from edge_perception.cdr.errors import CdrError, UnsupportedCdrError
from edge_perception.cdr.reader import CdrReader
from edge_perception.cdr.writer import CdrWriter

__all__ = ["CdrError", "CdrReader", "CdrWriter", "UnsupportedCdrError"]
