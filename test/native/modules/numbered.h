/* Where numberer.c writes what checker.c reads. */
enum { kFlowsMax = 1024, kFrameBytes = 64, kFlowAt = 34, kNumberAt = 42 };
