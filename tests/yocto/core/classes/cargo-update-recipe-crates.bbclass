addtask update_crates after do_patch
do_update_crates() {
    :
}
