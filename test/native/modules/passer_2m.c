#define PASSER_VERSION 2
#define PASSER_NAME "2.1"
#define PASSER_MIGRATES
#include "passer.h"
