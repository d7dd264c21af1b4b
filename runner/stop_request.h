#pragma once

namespace lockstep::runner {

/// From now on TERM, INT and USR2 ask the run to save and stop at the next step. A second TERM or INT
/// ends the process at once.
void listen_for_stop_requests();

/// Whether one has come. Any thread.
bool stop_requested();

}  // namespace lockstep::runner
