# For jobs that run nic-forward.js, after guest.sh: NICs called west, left, right and east.
for address in $nic_west $nic_left $nic_right $nic_east; do bind_vfio "$address" || exit 1; done
cc -O2 -Wall -Wextra -shared -fPIC -I native/include -o examples/nic-forward/cross.so examples/nic-forward/cross.c || exit 1
cc -O2 -Wall -Wextra -shared -fPIC -I native/include -o test/guest/programs/both.so test/guest/programs/both.c || exit 1
export VANITY_WEST=$nic_west VANITY_LEFT=$nic_left VANITY_RIGHT=$nic_right VANITY_EAST=$nic_east
