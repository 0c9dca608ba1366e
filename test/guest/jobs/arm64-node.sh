# The whole of Vanity behind Arm's SMMUv3: command line, TypeScript and addon in Node for arm64, and a port of a NIC.
# machine: arm64
# script: test/guest/arm64/system.js
# full: the whole of Vanity in Node for arm64, in a guest behind Arm's SMMUv3
