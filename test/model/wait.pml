/* The fences of the wake protocol on a machine with store buffers (x86-TSO), which C++ has no words for.
   WAITER: 2 membarrier, 1 a fence of its own, 0 none. PRODUCER: 1 a fence, 0 none. LOOK: 1 looks again.
   A lost wake is the waiter asleep for ever: an invalid end state.

     waiter:   sleeping = 1; WAITER's fence; look at all data; none new: sleep while sleeping == 1;
               sleeping = 0
     producer: data = 1; PRODUCER's fence; look at sleeping; 1: exchange it with 0, wake if it was 1

   Ships: 2 and 0; where membarrier is missing, 1 and 1. */
#ifndef WAITER
#define WAITER 2
#endif
#ifndef PRODUCER
#define PRODUCER 0
#endif
#ifndef LOOK
#define LOOK 1
#endif
#ifndef PRODUCERS
#define PRODUCERS 1
#endif
#define OTHER (PRODUCERS - 1)

byte data[PRODUCERS], sleeping = 0;
byte data_buffer[PRODUCERS], sleeping_buffer = 0; /* 0 empty, else the value + 1 */
byte started = 0;
bool asleep_in_kernel = false; /* a wake that finds nobody asleep is gone */

active proctype store_buffers() {
end:
  do
  :: atomic { data_buffer[0] > 0 -> data[0] = data_buffer[0] - 1; data_buffer[0] = 0 }
  :: atomic { data_buffer[OTHER] > 0 -> data[OTHER] = data_buffer[OTHER] - 1; data_buffer[OTHER] = 0 }
  :: atomic { sleeping_buffer > 0 -> sleeping = sleeping_buffer - 1; sleeping_buffer = 0 }
  od
}

active proctype waiter() {
  byte taken = 0, found = 0;
  do
  :: found = data[0] + (OTHER * data[OTHER]);
    if
    :: found > taken -> taken = found
    :: else ->
      (sleeping_buffer == 0); /* one entry: the store before has left */
      sleeping_buffer = 2;
      if
      :: WAITER == 2 ->
        (sleeping_buffer == 0 && data_buffer[0] == 0);
        (data_buffer[OTHER] == 0) /* one processor after the other */
      :: WAITER == 1 -> (sleeping_buffer == 0)
      :: WAITER == 0 -> skip
      fi;
      if
      :: LOOK == 1 -> found = data[0]; found = found + (OTHER * data[OTHER])
      :: LOOK == 0 -> found = 0
      fi;
      if
      :: found > taken -> taken = found
      :: else ->
        (sleeping_buffer == 0); /* entering the kernel drains it */
        atomic {
          if
          :: sleeping == 0 -> skip /* the kernel's own look at the word */
          :: else -> asleep_in_kernel = true
          fi
        };
        (!asleep_in_kernel)
      fi;
      (sleeping_buffer == 0);
      sleeping_buffer = 1
    fi;
    if
    :: taken == PRODUCERS -> break
    :: else -> skip
    fi
  od
}

active [PRODUCERS] proctype producer() {
  byte me, asleep;
  atomic { me = started; started++ };
  data_buffer[me] = 2;
  if
  :: PRODUCER == 1 -> (data_buffer[me] == 0)
  :: PRODUCER == 0 -> skip
  fi;
  asleep = sleeping;
  if
  :: asleep == 1 ->
    (data_buffer[me] == 0); /* a locked exchange drains it */
    atomic { asleep = sleeping; sleeping = 0 };
    if
    :: asleep == 1 -> asleep_in_kernel = false
    :: else -> skip
    fi
  :: else -> skip
  fi
}
