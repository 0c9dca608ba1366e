#!/bin/sh
# Holds docs/design/memory-order.md against sources and compilers. Prints "N passed, N failed".
exec node "$(dirname "$0")/check.js"
