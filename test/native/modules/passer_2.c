/* Another state, which nobody can turn the first into. */
#define PASSER_VERSION 2
#define PASSER_NAME "2.0"
#include "passer.h"
