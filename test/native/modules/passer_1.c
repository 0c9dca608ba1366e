#define PASSER_VERSION 1
#define PASSER_NAME "1.0"
#include "passer.h"
