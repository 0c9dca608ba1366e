#!/bin/sh
# Takes away what setup.sh made. Links by name: those of a namespace go some time after it.
for link in vanity-l vanity-r; do
  ip link del "$link" 2>/dev/null
done
for name in vanity-left vanity-right; do
  ip netns del "$name" 2>/dev/null
done
exit 0
