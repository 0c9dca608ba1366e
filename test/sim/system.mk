# Builds the policy build with g++ alone: OUT/vanity-sim. ROOT: where the sources stand, for mutants.
OUT ?= .cache/sim/system
ROOT ?= .
OPTIMIZE ?= -O2
LINK ?=
SOURCES := $(shell grep '^native/' native/sim/system/sources.txt)
OBJECTS := $(patsubst native/%.cpp,$(OUT)/%.o,$(SOURCES))
CPPFLAGS := -I$(ROOT)/native/include -I$(ROOT)/native -DVANITY_SIM -DVANITY_VERSION='"test"'
CXXFLAGS := -std=c++20 $(OPTIMIZE) -Wall -Wextra -Werror

$(OUT)/vanity-sim: $(OBJECTS)
	$(CXX) -Wl,--build-id $(LINK) $^ -ldl -lpthread -o $@

$(OUT)/%.o: $(ROOT)/native/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c $< -o $@

-include $(OBJECTS:.o=.d)
