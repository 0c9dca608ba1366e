# QEMU's edu driven by programs in TypeScript and C++, through `vanity run`: accelerator.js.
# host: node scripts/build.js
# host: c++ -std=c++20 -O2 -Wall -Wextra -Werror -shared -fPIC -I native/include -I native -o examples/accelerator/accelerator.so examples/accelerator/accelerator.cpp
# host: cc -O2 -Wall -Wextra -Werror -shared -fPIC -I native/include -o test/guest/programs/strayer.so test/guest/programs/strayer.c
# The compiler itself takes a minute to load in the guest, so what it makes of the example is run.
# host: node_modules/.bin/tsc -p examples/accelerator/tsconfig.json --noEmit false --rewriteRelativeImportExtensions --outDir .cache/accelerator
# limit: 900
. test/guest/guest.sh

bind_vfio "$edu" || exit 1
VANITY_EDU=$edu exec node test/guest/accelerator.js
