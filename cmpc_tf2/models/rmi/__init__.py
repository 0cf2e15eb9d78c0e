"""RMI (ICCV 2017): picture and sentence are read together, word by word."""
