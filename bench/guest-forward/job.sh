. test/guest/guest.sh
. test/guest/hosts.sh
. test/guest/testpmd.sh
bind_vfio "$nic_zero" && bind_vfio "$nic_one" && few_drivers || exit 1
cc -O2 -Wall -Wextra -shared -fPIC -I native/include -o test/guest/programs/both.so test/guest/programs/both.c || exit 1
export VANITY_ZERO=$nic_zero VANITY_ONE=$nic_one VANITY_CORE=${VANITY_CORE:-1}
exec node bench/guest-forward/guest.js ${arguments:-3 3}
