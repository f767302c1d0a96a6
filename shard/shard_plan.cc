#include "shard/shard_plan.h"
