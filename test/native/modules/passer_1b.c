/* The same state as the first. */
#define PASSER_VERSION 1
#define PASSER_NAME "1.1"
#include "passer.h"
