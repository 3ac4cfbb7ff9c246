// SPDX-License-Identifier: Apache-2.0

#include "peer.h"

#include <string.h>

static const peer *const peers[] = {&peer_onednn};

size_t peer_count(void) { return sizeof peers / sizeof *peers; }
const peer *peer_at(size_t i) { return peers[i]; }

const peer *peer_find(const char *name) {
  for (size_t i = 0; i < peer_count(); i++)
    if (!strcmp(peers[i]->name, name)) return peers[i];
  return NULL;
}
